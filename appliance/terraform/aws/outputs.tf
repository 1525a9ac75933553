# What the office side and other modules need to know.

output "public_ip" {
  description = "The appliance's public address: `remote` at the offices."
  value       = aws_eip.this.public_ip
}

output "private_ip" {
  description = "The appliance's address in the VPC."
  value       = aws_network_interface.this.private_ip
}

output "instance_id" {
  description = "The instance."
  value       = aws_instance.this.id
}

output "network_interface_id" {
  description = "The interface that the offices' networks are routed to."
  value       = aws_network_interface.this.id
}

output "security_group_id" {
  description = "The appliance's security group."
  value       = aws_security_group.this.id
}

output "office_routes" {
  description = "The routes to the offices, as `table network`."
  value       = keys(local.office_routes)
}
