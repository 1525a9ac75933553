# What the office side and other modules need to know.

output "public_ip" {
  description = "The appliance's public address: `remote` at the offices."
  value       = google_compute_address.public.address
}

output "private_ip" {
  description = "The appliance's address in the VPC."
  value       = google_compute_address.private.address
}

output "instance_id" {
  description = "The instance."
  value       = google_compute_instance.this.self_link
}

output "network_tag" {
  description = "The network tag of the appliance."
  value       = local.tag
}

output "office_routes" {
  description = "The networks that are routed to the appliance."
  value       = keys(google_compute_route.office)
}
