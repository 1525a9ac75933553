# One office, one cluster, `translate`: what has to be given and nothing else.

provider "azurerm" {
  subscription_id = var.subscription_id

  features {}
}

module "skybridge" {
  source = "../.."

  image_id        = var.image_id
  config          = file("${path.module}/skybridge.toml")
  ssh_public_keys = [var.ssh_public_key]
  secrets = {
    "office.psk" = file(var.psk_file)
    "kubeconfig" = file(var.kubeconfig_file)
  }

  resource_group_name = var.resource_group_name
  location            = var.location
  subnet_id           = var.subnet_id
  private_ip          = "10.0.3.10"
  office_cidrs        = ["192.168.10.0/24"]
  cluster_cidrs       = ["10.0.1.0/24", "10.0.2.0/24"]

  route_tables = {
    nodes = { name = var.node_route_table, resource_group_name = var.resource_group_name }
  }

  cluster_security_groups = {
    nodes = { name = var.node_security_group, resource_group_name = var.resource_group_name }
  }
}
