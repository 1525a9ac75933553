# One office, one cluster, `translate`: what has to be given and nothing else.

provider "google" {
  project = var.project
  zone    = var.zone
}

module "skybridge" {
  source = "../.."

  image_id = var.image_id
  config   = file("${path.module}/skybridge.toml")
  secrets = {
    "office.psk" = file(var.psk_file)
    "kubeconfig" = file(var.kubeconfig_file)
  }

  zone                = var.zone
  network             = var.network
  subnetwork          = var.subnetwork
  office_cidrs        = ["192.168.10.0/24"]
  cluster_cidrs       = ["10.0.1.0/24", "10.0.2.0/24"]
  cluster_target_tags = [var.node_tag]
}
