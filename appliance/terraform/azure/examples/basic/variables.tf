# What differs from network to network.

variable "subscription_id" {
  description = "Subscription of the virtual network."
  type        = string
}

variable "resource_group_name" {
  description = "Resource group of the appliance."
  type        = string
}

variable "location" {
  description = "Region of the virtual network."
  type        = string
}

variable "image_id" {
  description = "The appliance's image."
  type        = string
}

variable "subnet_id" {
  description = "The appliance's subnet."
  type        = string
}

variable "ssh_public_key" {
  description = "A key; nobody can use it from the network as long as ssh_cidrs is empty."
  type        = string
}

variable "node_route_table" {
  description = "Name of the route table of the node and Pod subnets, in the same resource group."
  type        = string
}

variable "node_security_group" {
  description = "Name of the network security group of the nodes, in the same resource group."
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
