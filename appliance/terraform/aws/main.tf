# The Skybridge appliance in an AWS VPC: interface, address, filters, instance, and the routes of the chosen mode.

locals {
  tags   = merge(var.tags, { Name = var.name })
  routed = var.mode != "translate-and-masquerade"

  office_routes = local.routed ? {
    for pair in setproduct(keys(var.route_table_ids), var.office_cidrs) :
    "${pair[0]} ${pair[1]}" => { table = var.route_table_ids[pair[0]], cidr = pair[1] }
  } : {}

  # A security group as source does not match packets that a gateway forwards: the offices' networks must be named.
  office_rules = local.routed ? {
    for pair in setproduct(keys(var.cluster_security_group_ids), var.office_cidrs) :
    "${pair[0]} ${pair[1]}" => { group = var.cluster_security_group_ids[pair[0]], cidr = pair[1] }
  } : {}

  # From the appliance itself: its probes, the Kubernetes API, and everything where it hides the clients.
  appliance_rules = {
    for name, group in var.cluster_security_group_ids : name => {
      group    = group
      protocol = local.routed ? "tcp" : "-1"
    }
  }
}

data "aws_subnet" "this" {
  id = var.subnet_id
}

module "user_data" {
  source = "../user-data"

  config          = var.config
  secrets         = var.secrets
  ssh_public_keys = var.ssh_public_keys
  ssh_cidrs       = var.ssh_cidrs
  udp_ports       = [for port in var.ike_ports : port if !contains([500, 4500], port)]
}

resource "aws_security_group" "this" {
  name        = var.name
  description = "Skybridge appliance"
  vpc_id      = data.aws_subnet.this.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "ike" {
  for_each = {
    for pair in setproduct(var.ike_ports, var.peer_cidrs) : "${pair[0]} ${pair[1]}" => { port = tonumber(pair[0]), cidr = pair[1] }
  }

  security_group_id = aws_security_group.this.id
  description       = "IKE and ESP in UDP"
  ip_protocol       = "udp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "icmp" {
  for_each = toset(var.icmp_cidrs)

  security_group_id = aws_security_group.this.id
  description       = "ICMP"
  ip_protocol       = "icmp"
  from_port         = -1
  to_port           = -1
  cidr_ipv4         = each.value
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each = toset(var.ssh_cidrs)

  security_group_id = aws_security_group.this.id
  description       = "SSH"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_ipv4         = each.value
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "cluster" {
  for_each = local.routed ? toset(var.cluster_cidrs) : toset([])

  security_group_id = aws_security_group.this.id
  description       = "Nodes and Pods to the offices"
  ip_protocol       = "-1"
  cidr_ipv4         = each.value
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.this.id
  description       = "To peers and to the cluster"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "office_to_cluster" {
  for_each = local.office_rules

  security_group_id = each.value.group
  description       = "Offices behind ${var.name}"
  ip_protocol       = "-1"
  cidr_ipv4         = each.value.cidr
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "appliance_to_cluster" {
  for_each = local.appliance_rules

  security_group_id            = each.value.group
  description                  = "Appliance ${var.name}"
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.protocol == "-1" ? null : 0
  to_port                      = each.value.protocol == "-1" ? null : 65535
  referenced_security_group_id = aws_security_group.this.id
  tags                         = local.tags
}

# The interface is a resource of its own, so that address and routes outlive an instance that is replaced.
resource "aws_network_interface" "this" {
  subnet_id         = var.subnet_id
  description       = "Skybridge appliance"
  private_ips       = var.private_ip == null ? null : [var.private_ip]
  security_groups   = [aws_security_group.this.id]
  source_dest_check = false
  tags              = local.tags
}

resource "aws_eip" "this" {
  domain = "vpc"
  tags   = local.tags
}

resource "aws_eip_association" "this" {
  allocation_id        = aws_eip.this.id
  network_interface_id = aws_network_interface.this.id
}

resource "aws_instance" "this" {
  ami                         = var.image_id
  instance_type               = var.instance_type
  iam_instance_profile        = var.iam_instance_profile
  user_data                   = module.user_data.user_data
  user_data_replace_on_change = true
  ebs_optimized               = true
  tags                        = local.tags
  volume_tags                 = local.tags

  primary_network_interface {
    network_interface_id = aws_network_interface.this.id
  }

  # Tokens only, and answers that do not survive a hop: what is forwarded through the appliance cannot read user-data.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = var.disk_size
    encrypted   = true
  }

  lifecycle {
    precondition {
      condition     = length(module.user_data.user_data) <= 16384
      error_message = "AWS takes at most 16 KiB of user-data: leave large certificates and kubeconfigs out."
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

resource "aws_route" "office" {
  for_each = local.office_routes

  route_table_id         = each.value.table
  destination_cidr_block = each.value.cidr
  network_interface_id   = aws_network_interface.this.id
}

resource "aws_route" "service" {
  for_each = var.mode == "route" ? toset(var.service_cidrs) : toset([])

  route_table_id         = var.appliance_route_table_id
  destination_cidr_block = each.value
  network_interface_id   = var.service_next_hop
}
