# One office, one cluster, `translate`: what has to be given and nothing else.

provider "aws" {
  region = var.region
}

module "skybridge" {
  source = "../.."

  image_id = var.image_id
  config   = file("${path.module}/skybridge.toml")
  secrets = {
    "office.psk" = file(var.psk_file)
    "kubeconfig" = file(var.kubeconfig_file)
  }

  subnet_id                  = var.subnet_id
  office_cidrs               = ["192.168.10.0/24"]
  cluster_cidrs              = ["10.0.1.0/24", "10.0.2.0/24"]
  route_table_ids            = var.route_table_ids
  cluster_security_group_ids = var.cluster_security_group_ids
}
