# What the office side and other modules need to know.

output "public_ip" {
  description = "The appliance's public address: `remote` at the offices."
  value       = alicloud_eip_address.this.ip_address
}

output "private_ip" {
  description = "The appliance's address in the VPC."
  value       = alicloud_instance.this.private_ip
}

output "instance_id" {
  description = "The instance that the offices' networks are routed to."
  value       = alicloud_instance.this.id
}

output "security_group_id" {
  description = "The appliance's security group."
  value       = alicloud_security_group.this.id
}

output "office_routes" {
  description = "The routes to the offices, as `table network`."
  value       = keys(local.office_routes)
}
