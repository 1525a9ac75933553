# What goes into the appliance's user-data.

variable "config" {
  description = "Text of /etc/skybridge/skybridge.toml. Secrets do not belong here: name their files."
  type        = string
  sensitive   = true

  validation {
    condition     = trimspace(var.config) != ""
    error_message = "The configuration must not be empty."
  }
}

variable "secrets" {
  description = "Files beside the configuration, by name: pre-shared keys, private keys, a kubeconfig. The configuration names them as /etc/skybridge/NAME."
  type        = map(string)
  default     = {}
  sensitive   = true

  validation {
    condition = alltrue([
      for name in keys(var.secrets) :
      can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", name)) && !contains(["skybridge.toml", "conf.d", "appliance", "credentials"], name)
    ])
    error_message = "A secret's name is a file name of letters, digits, '.', '_' and '-', and none of skybridge.toml, conf.d, appliance, credentials."
  }
}

variable "ssh_public_keys" {
  description = "Public keys that may log in by SSH, where ssh_cidrs lets them in."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for key in var.ssh_public_keys : can(regex("^(ssh-|ecdsa-|sk-)[^\\r\\n]+$", key))])
    error_message = "Each key is one line as in authorized_keys, without options."
  }
}

variable "ssh_cidrs" {
  description = "Networks that the appliance's own firewall lets in by SSH. None: no SSH from anywhere."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.ssh_cidrs : can(cidrhost(cidr, 0))])
    error_message = "Each entry must be a network such as 198.51.100.0/24."
  }
}

variable "udp_ports" {
  description = "UDP ports that the appliance's own firewall lets in beside 500 and 4500, where the configuration uses others."
  type        = list(number)
  default     = []

  validation {
    condition     = alltrue([for port in var.udp_ports : port >= 1 && port <= 65535 && floor(port) == port])
    error_message = "A port is a whole number from 1 to 65535."
  }
}
