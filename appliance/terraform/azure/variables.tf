# Inputs. What concerns the appliance itself comes first, then its network, then the cluster.

variable "name" {
  description = "Name of the appliance and prefix of everything that belongs to it."
  type        = string
  default     = "skybridge"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,31}$", var.name))
    error_message = "A name has up to 32 small letters, digits and '-', and starts with a letter."
  }
}

variable "image_id" {
  description = "Identifier of the appliance's image (README.md: how to import it)."
  type        = string

  validation {
    condition     = startswith(var.image_id, "/")
    error_message = "An image's identifier starts with /subscriptions/ (or /sharedGalleries/, /communityGalleries/)."
  }
}

variable "size" {
  description = "Size of the machine: x86-64, second generation, as the image."
  type        = string
  default     = "Standard_D2s_v5"
}

variable "disk_size" {
  description = "Size of the disk in GiB. What the system's two slots do not take keeps logs and state."
  type        = number
  default     = 8

  validation {
    condition     = var.disk_size >= 2 && floor(var.disk_size) == var.disk_size
    error_message = "At least 2 GiB, in whole GiB."
  }
}

variable "config" {
  description = "Text of /etc/skybridge/skybridge.toml."
  type        = string
  sensitive   = true
}

variable "secrets" {
  description = "Files beside the configuration, by name: pre-shared keys, private keys, a kubeconfig."
  type        = map(string)
  default     = {}
  sensitive   = true
}

variable "admin_username" {
  description = "User that the keys belong to."
  type        = string
  default     = "skyadmin"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,31}$", var.admin_username)) && !contains(["admin", "administrator", "root", "skybridge"], var.admin_username)
    error_message = "A user's name has small letters, digits and '-', and is none of admin, administrator, root, skybridge."
  }
}

variable "ssh_public_keys" {
  description = "Public keys that may log in by SSH, where ssh_cidrs lets them in. Azure makes no machine without one."
  type        = list(string)

  validation {
    condition     = length(var.ssh_public_keys) > 0
    error_message = "Azure makes no machine without a key; without ssh_cidrs nobody can use it from the network."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}

variable "resource_group_name" {
  description = "Resource group of everything that the module makes."
  type        = string
}

variable "location" {
  description = "Region, such as westeurope."
  type        = string
}

variable "subnet_id" {
  description = "Subnet of the appliance."
  type        = string
}

variable "private_ip" {
  description = "The appliance's address in the subnet: the next hop of the offices' networks, so it is fixed."
  type        = string

  validation {
    condition     = can(cidrnetmask("${var.private_ip}/32"))
    error_message = "An IPv4 address such as 10.0.3.10."
  }
}

variable "accelerated_networking" {
  description = "Accelerated networking of the NIC. Off, for the image was not tried with it."
  type        = bool
  default     = false
}

variable "peer_cidrs" {
  description = "Networks that may speak IKE and ESP to the appliance. Offices behind a carrier's NAT need 0.0.0.0/0: peers prove who they are by key."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = length(var.peer_cidrs) > 0 && alltrue([for cidr in var.peer_cidrs : can(cidrnetmask(cidr))])
    error_message = "At least one IPv4 network, such as 0.0.0.0/0."
  }
}

variable "ike_ports" {
  description = "UDP ports of IKE and of ESP in UDP, as the configuration has them."
  type        = list(number)
  default     = [500, 4500]

  validation {
    condition     = alltrue([for port in var.ike_ports : port >= 1 && port <= 65535 && floor(port) == port])
    error_message = "A port is a whole number from 1 to 65535."
  }
}

variable "icmp_cidrs" {
  description = "Networks that may send ICMP to the appliance (ping, and errors that are not part of a known flow)."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for cidr in var.icmp_cidrs : can(cidrnetmask(cidr))])
    error_message = "Each entry must be an IPv4 network such as 198.51.100.0/24."
  }
}

variable "ssh_cidrs" {
  description = "Networks that may log in by SSH. None by default; 0.0.0.0/0 is refused."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.ssh_cidrs : can(cidrnetmask(cidr)) && !endswith(cidr, "/0")])
    error_message = "Each entry must be an IPv4 network such as 198.51.100.0/24, and not the whole internet."
  }
}

variable "mode" {
  description = "How Services are reached, as `services` in the configuration: translate, translate-and-masquerade or route."
  type        = string
  default     = "translate"

  validation {
    condition     = contains(["translate", "translate-and-masquerade", "route"], var.mode)
    error_message = "The mode is translate, translate-and-masquerade or route."
  }
}

variable "office_cidrs" {
  description = "Networks of the offices behind the tunnels."
  type        = list(string)

  validation {
    condition     = length(var.office_cidrs) > 0 && alltrue([for cidr in var.office_cidrs : can(cidrnetmask(cidr))])
    error_message = "At least one IPv4 network, such as 192.168.10.0/24."
  }
}

variable "cluster_cidrs" {
  description = "Subnets of nodes and Pods that may open connections to the offices. Not used with translate-and-masquerade."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.cluster_cidrs : can(cidrnetmask(cidr))])
    error_message = "Each entry must be an IPv4 network such as 10.0.1.0/24."
  }
}

variable "route_tables" {
  description = "Route tables of every node and Pod subnet, by a name of your choice. They get a route to each office. Not used with translate-and-masquerade."
  type        = map(object({ name = string, resource_group_name = string }))
  default     = {}
}

variable "cluster_security_groups" {
  description = "Network security groups of nodes and Pods, by a name of your choice. They get a rule for the offices' networks (for the appliance with translate-and-masquerade)."
  type        = map(object({ name = string, resource_group_name = string }))
  default     = {}
}

variable "rule_priority" {
  description = "Priority of the rule in cluster_security_groups: free there, and before what denies."
  type        = number
  default     = 1000

  validation {
    condition     = var.rule_priority >= 100 && var.rule_priority <= 4096
    error_message = "A priority is a number from 100 to 4096."
  }
}

variable "service_cidrs" {
  description = "Ranges of the cluster's Services. Used with route only."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.service_cidrs : can(cidrnetmask(cidr))])
    error_message = "Each entry must be an IPv4 network such as 172.16.0.0/16."
  }
}

variable "service_next_hop" {
  description = "Address of the node that takes the Services' packets, with IP forwarding on its NIC. Used with route only."
  type        = string
  default     = null
}

variable "appliance_route_table" {
  description = "Route table of the appliance's subnet, which gets the route to the Services. Used with route only."
  type        = object({ name = string, resource_group_name = string })
  default     = null
}
