# The Skybridge appliance in an Alibaba Cloud VPC: filters, instance, address, and the routes of the chosen mode.

locals {
  tags   = merge(var.tags, { Name = var.name })
  routed = var.mode != "translate-and-masquerade"

  office_routes = local.routed ? {
    for pair in setproduct(keys(var.route_table_ids), var.office_cidrs) :
    "${pair[0]} ${pair[1]}" => { table = var.route_table_ids[pair[0]], cidr = pair[1] }
  } : {}

  # The offices' own networks, for packets keep their source.
  office_rules = local.routed ? {
    for pair in setproduct(keys(var.cluster_security_group_ids), var.office_cidrs) :
    "${pair[0]} ${pair[1]}" => { group = var.cluster_security_group_ids[pair[0]], cidr = pair[1] }
  } : {}

  rules = merge(
    {
      for pair in setproduct(var.ike_ports, var.peer_cidrs) :
      "ike ${pair[0]} ${pair[1]}" => { protocol = "udp", ports = "${pair[0]}/${pair[0]}", cidr = pair[1] }
    },
    { for cidr in var.icmp_cidrs : "icmp ${cidr}" => { protocol = "icmp", ports = "-1/-1", cidr = cidr } },
    { for cidr in var.ssh_cidrs : "ssh ${cidr}" => { protocol = "tcp", ports = "22/22", cidr = cidr } },
    local.routed ? { for cidr in var.cluster_cidrs : "cluster ${cidr}" => { protocol = "all", ports = "-1/-1", cidr = cidr } } : {},
  )
}

module "user_data" {
  source = "../user-data"

  config          = var.config
  secrets         = var.secrets
  ssh_public_keys = var.ssh_public_keys
  ssh_cidrs       = var.ssh_cidrs
  udp_ports       = [for port in var.ike_ports : port if !contains([500, 4500], port)]
}

resource "alicloud_security_group" "this" {
  security_group_name = var.name
  description         = "Skybridge appliance"
  vpc_id              = var.vpc_id
  tags                = local.tags
}

resource "alicloud_security_group_rule" "appliance" {
  for_each = local.rules

  security_group_id = alicloud_security_group.this.id
  description       = each.key
  type              = "ingress"
  nic_type          = "intranet"
  policy            = "accept"
  ip_protocol       = each.value.protocol
  port_range        = each.value.ports
  cidr_ip           = each.value.cidr
}

resource "alicloud_security_group_rule" "office_to_cluster" {
  for_each = local.office_rules

  security_group_id = each.value.group
  description       = "Offices behind ${var.name}"
  type              = "ingress"
  nic_type          = "intranet"
  policy            = "accept"
  ip_protocol       = "all"
  port_range        = "-1/-1"
  cidr_ip           = each.value.cidr
}

# From the appliance itself: its probes, the Kubernetes API, and everything where it hides the clients.
resource "alicloud_security_group_rule" "appliance_to_cluster" {
  for_each = var.cluster_security_group_ids

  security_group_id        = each.value
  description              = "Appliance ${var.name}"
  type                     = "ingress"
  nic_type                 = "intranet"
  policy                   = "accept"
  ip_protocol              = local.routed ? "tcp" : "all"
  port_range               = local.routed ? "1/65535" : "-1/-1"
  source_security_group_id = alicloud_security_group.this.id
}

resource "alicloud_instance" "this" {
  instance_name              = var.name
  image_id                   = var.image_id
  instance_type              = var.instance_type
  vswitch_id                 = var.vswitch_id
  private_ip                 = var.private_ip
  security_groups            = [alicloud_security_group.this.id]
  source_dest_check          = false
  internet_max_bandwidth_out = 0
  user_data                  = base64encode(module.user_data.user_data)
  system_disk_category       = "cloud_essd"
  system_disk_size           = var.disk_size
  system_disk_encrypted      = true
  tags                       = local.tags

  # Tokens only. The hop limit is stated too; Alibaba Cloud's documentation says that it does not take effect yet.
  http_endpoint               = "enabled"
  http_tokens                 = "required"
  http_put_response_hop_limit = 1

  lifecycle {
    # cloud-init writes the files once in an instance's life: what is changed takes a new one.
    replace_triggered_by = [terraform_data.user_data]

    precondition {
      condition     = length(module.user_data.user_data) <= 16384
      error_message = "Alibaba Cloud takes at most 16 KiB of user-data: leave large certificates and kubeconfigs out."
    }

    precondition {
      condition     = var.mode == "translate" || contains(module.user_data.modes, var.mode)
      error_message = "The configuration does not say `services = \"...\"` with the mode of this module."
    }

    precondition {
      condition     = var.mode != "route" || (length(var.service_cidrs) > 0 && var.service_next_hop != null && var.appliance_route_table_id != null)
      error_message = "With route, service_cidrs, service_next_hop and appliance_route_table_id are needed."
    }
  }
}

resource "terraform_data" "user_data" {
  input = sha256(module.user_data.user_data)
}

resource "alicloud_eip_address" "this" {
  address_name         = var.name
  bandwidth            = tostring(var.bandwidth)
  internet_charge_type = "PayByTraffic"
  payment_type         = "PayAsYouGo"
  tags                 = local.tags
}

resource "alicloud_eip_association" "this" {
  allocation_id = alicloud_eip_address.this.id
  instance_id   = alicloud_instance.this.id
  instance_type = "EcsInstance"
}

resource "alicloud_route_entry" "office" {
  for_each = local.office_routes

  route_table_id        = each.value.table
  destination_cidrblock = each.value.cidr
  nexthop_type          = "Instance"
  nexthop_id            = alicloud_instance.this.id
}

resource "alicloud_route_entry" "service" {
  for_each = var.mode == "route" ? toset(var.service_cidrs) : toset([])

  route_table_id        = var.appliance_route_table_id
  destination_cidrblock = each.value
  nexthop_type          = startswith(coalesce(var.service_next_hop, "i-"), "eni-") ? "NetworkInterface" : "Instance"
  nexthop_id            = var.service_next_hop
}
