# What the office side and other modules need to know.

output "public_ip" {
  description = "The appliance's public address: `remote` at the offices."
  value       = azurerm_public_ip.this.ip_address
}

output "private_ip" {
  description = "The appliance's address in the virtual network."
  value       = var.private_ip
}

output "instance_id" {
  description = "The machine."
  value       = azurerm_linux_virtual_machine.this.id
}

output "network_interface_id" {
  description = "The NIC that the offices' networks are routed to."
  value       = azurerm_network_interface.this.id
}

output "security_group_id" {
  description = "The appliance's network security group."
  value       = azurerm_network_security_group.this.id
}

output "office_routes" {
  description = "The routes to the offices, as `table network`."
  value       = keys(local.office_routes)
}
