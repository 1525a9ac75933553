# The Skybridge appliance in an Azure virtual network: address, filters, NIC, machine, and the routes of the chosen mode.

locals {
  routed = var.mode != "translate-and-masquerade"

  office_routes = local.routed ? {
    for pair in setproduct(keys(var.route_tables), var.office_cidrs) :
    "${pair[0]} ${pair[1]}" => { table = var.route_tables[pair[0]], cidr = pair[1] }
  } : {}

  # Each rule is there only if it has somebody to let in.
  rules = {
    for name, rule in {
      ike     = { priority = 100, protocol = "Udp", ports = [for port in var.ike_ports : tostring(port)], sources = var.peer_cidrs }
      icmp    = { priority = 110, protocol = "Icmp", ports = ["*"], sources = var.icmp_cidrs }
      ssh     = { priority = 120, protocol = "Tcp", ports = ["22"], sources = var.ssh_cidrs }
      cluster = { priority = 130, protocol = "*", ports = ["*"], sources = local.routed ? var.cluster_cidrs : [] }
    } : name => rule if length(rule.sources) > 0
  }
}

module "user_data" {
  source = "../user-data"

  config          = var.config
  secrets         = var.secrets
  ssh_public_keys = var.ssh_public_keys
  ssh_cidrs       = var.ssh_cidrs
  udp_ports       = [for port in var.ike_ports : port if !contains([500, 4500], port)]
}

resource "azurerm_public_ip" "this" {
  name                = var.name
  resource_group_name = var.resource_group_name
  location            = var.location
  allocation_method   = "Static"
  sku                 = "Standard"
  tags                = var.tags
}

resource "azurerm_network_security_group" "this" {
  name                = var.name
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_network_security_rule" "allow" {
  for_each = local.rules

  name                        = each.key
  resource_group_name         = var.resource_group_name
  network_security_group_name = azurerm_network_security_group.this.name
  direction                   = "Inbound"
  access                      = "Allow"
  priority                    = each.value.priority
  protocol                    = each.value.protocol
  source_port_range           = "*"
  source_address_prefixes     = each.value.sources
  destination_port_range      = length(each.value.ports) == 1 ? each.value.ports[0] : null
  destination_port_ranges     = length(each.value.ports) == 1 ? null : each.value.ports
  destination_address_prefix  = "*"
}

# Azure lets the whole virtual network in by a rule of its own; here only what is named above comes in.
resource "azurerm_network_security_rule" "deny" {
  name                        = "deny-the-rest"
  resource_group_name         = var.resource_group_name
  network_security_group_name = azurerm_network_security_group.this.name
  direction                   = "Inbound"
  access                      = "Deny"
  priority                    = 4096
  protocol                    = "*"
  source_port_range           = "*"
  source_address_prefix       = "*"
  destination_port_range      = "*"
  destination_address_prefix  = "*"
}

resource "azurerm_network_security_rule" "office_to_cluster" {
  for_each = var.cluster_security_groups

  name                        = "${var.name}-office"
  resource_group_name         = each.value.resource_group_name
  network_security_group_name = each.value.name
  direction                   = "Inbound"
  access                      = "Allow"
  priority                    = var.rule_priority
  protocol                    = "*"
  source_port_range           = "*"
  source_address_prefixes     = concat(local.routed ? var.office_cidrs : [], ["${var.private_ip}/32"])
  destination_port_range      = "*"
  destination_address_prefix  = "*"
}

resource "azurerm_network_interface" "this" {
  name                           = var.name
  resource_group_name            = var.resource_group_name
  location                       = var.location
  ip_forwarding_enabled          = true
  accelerated_networking_enabled = var.accelerated_networking
  tags                           = var.tags

  ip_configuration {
    name                          = "primary"
    subnet_id                     = var.subnet_id
    private_ip_address_allocation = "Static"
    private_ip_address            = var.private_ip
    public_ip_address_id          = azurerm_public_ip.this.id
  }
}

resource "azurerm_network_interface_security_group_association" "this" {
  network_interface_id      = azurerm_network_interface.this.id
  network_security_group_id = azurerm_network_security_group.this.id
}

# Azure's metadata service has no token or hop limit to set; it answers only requests with its own header, not those that
# were forwarded by a proxy, and the tunnel's selectors hold no 169.254.169.254.
resource "azurerm_linux_virtual_machine" "this" {
  name                            = var.name
  resource_group_name             = var.resource_group_name
  location                        = var.location
  size                            = var.size
  source_image_id                 = var.image_id
  network_interface_ids           = [azurerm_network_interface.this.id]
  admin_username                  = var.admin_username
  disable_password_authentication = true
  custom_data                     = base64encode(module.user_data.user_data)
  provision_vm_agent              = false
  allow_extension_operations      = false
  tags                            = var.tags

  dynamic "admin_ssh_key" {
    for_each = toset(var.ssh_public_keys)

    content {
      username   = var.admin_username
      public_key = admin_ssh_key.value
    }
  }

  os_disk {
    caching              = "ReadWrite"
    storage_account_type = "Premium_LRS"
    disk_size_gb         = var.disk_size
  }

  # The console, kept by Azure itself.
  boot_diagnostics {}

  lifecycle {
    precondition {
      condition     = length(module.user_data.user_data) <= 65535
      error_message = "Azure takes less than 64 KiB of custom data."
    }

    precondition {
      condition     = var.mode == "translate" || contains(module.user_data.modes, var.mode)
      error_message = "The configuration does not say `services = \"...\"` with the mode of this module."
    }

    precondition {
      condition     = var.mode != "route" || (length(var.service_cidrs) > 0 && var.service_next_hop != null && var.appliance_route_table != null)
      error_message = "With route, service_cidrs, service_next_hop and appliance_route_table are needed."
    }
  }

  depends_on = [azurerm_network_interface_security_group_association.this]
}

resource "azurerm_route" "office" {
  for_each = local.office_routes

  name                   = "${var.name}-${replace(each.value.cidr, "/", "-")}"
  resource_group_name    = each.value.table.resource_group_name
  route_table_name       = each.value.table.name
  address_prefix         = each.value.cidr
  next_hop_type          = "VirtualAppliance"
  next_hop_in_ip_address = var.private_ip
}

resource "azurerm_route" "service" {
  for_each = var.mode == "route" ? toset(var.service_cidrs) : toset([])

  name                   = "${var.name}-${replace(each.value, "/", "-")}"
  resource_group_name    = var.appliance_route_table.resource_group_name
  route_table_name       = var.appliance_route_table.name
  address_prefix         = each.value
  next_hop_type          = "VirtualAppliance"
  next_hop_in_ip_address = var.service_next_hop
}
