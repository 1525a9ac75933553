# What differs from VPC to VPC.

variable "region" {
  description = "Region of the VPC."
  type        = string
}

variable "image_id" {
  description = "The appliance's image."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "vswitch_id" {
  description = "The appliance's vSwitch."
  type        = string
}

variable "route_table_ids" {
  description = "Route tables of the node and Pod vSwitches, by a name of your choice."
  type        = map(string)
}

variable "cluster_security_group_ids" {
  description = "Security groups of nodes and Pods, by a name of your choice."
  type        = map(string)
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
