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
  description = "Self link or name of the appliance's image (README.md: how to import it)."
  type        = string

  validation {
    condition     = trimspace(var.image_id) != ""
    error_message = "An image must be named."
  }
}

variable "machine_type" {
  description = "Type of the machine: x86-64, as the image."
  type        = string
  default     = "e2-standard-2"
}

variable "disk_size" {
  description = "Size of the disk in GiB. What the system's two slots do not take keeps logs and state."
  type        = number
  default     = 10

  validation {
    condition     = var.disk_size >= 10 && floor(var.disk_size) == var.disk_size
    error_message = "At least 10 GiB, in whole GiB."
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

variable "ssh_public_keys" {
  description = "Public keys that may log in by SSH, where ssh_cidrs lets them in."
  type        = list(string)
  default     = []
}

variable "secure_boot" {
  description = "Secure boot of the machine. The image's boot loader is not signed by a key that Google Cloud knows: leave it off unless you sign it."
  type        = bool
  default     = false
}

variable "labels" {
  description = "Labels of the instance and its addresses."
  type        = map(string)
  default     = {}
}

variable "project" {
  description = "Project. Null: the provider's."
  type        = string
  default     = null
}

variable "zone" {
  description = "Zone of the appliance, such as europe-west1-b."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+-[a-z]$", var.zone))
    error_message = "A zone is written as europe-west1-b."
  }
}

variable "network" {
  description = "Self link or name of the VPC network."
  type        = string
}

variable "subnetwork" {
  description = "Self link or name of the appliance's subnetwork."
  type        = string
}

variable "private_ip" {
  description = "The appliance's address in the subnetwork. Null: Google Cloud chooses."
  type        = string
  default     = null
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

variable "route_tags" {
  description = "Network tags of the nodes that the routes to the offices apply to. None: every instance of the network. Not used with translate-and-masquerade."
  type        = list(string)
  default     = []
}

variable "cluster_target_tags" {
  description = "Network tags of the nodes whose firewall lets the offices in (the appliance with translate-and-masquerade). None: no rule is made."
  type        = list(string)
  default     = []
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
  description = "Self link of the node that takes the Services' packets, with can_ip_forward. Used with route only."
  type        = string
  default     = null
}
