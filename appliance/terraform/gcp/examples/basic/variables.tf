# What differs from VPC to VPC.

variable "project" {
  description = "Project of the VPC."
  type        = string
}

variable "zone" {
  description = "Zone of the appliance."
  type        = string
}

variable "image_id" {
  description = "The appliance's image."
  type        = string
}

variable "network" {
  description = "The VPC network."
  type        = string
}

variable "subnetwork" {
  description = "The appliance's subnetwork."
  type        = string
}

variable "node_tag" {
  description = "Network tag of the cluster's nodes."
  type        = string
}

variable "psk_file" {
  description = "File with the office's pre-shared key, made by `skybridge genkey psk`."
  type        = string
  default     = "office.psk"
}

variable "kubeconfig_file" {
  description = "File with the kubeconfig of the cluster's read-only account (appliance/kubernetes/rbac.yaml)."
  type        = string
  default     = "kubeconfig"
}
