# The Skybridge appliance in a Google Cloud VPC: addresses, firewall, instance, and the routes of the chosen mode.

locals {
  routed = var.mode != "translate-and-masquerade"
  region = regex("^(.*)-[a-z]$", var.zone)[0]
  tag    = var.name
}

module "user_data" {
  source = "../user-data"

  config          = var.config
  secrets         = var.secrets
  ssh_public_keys = var.ssh_public_keys
  ssh_cidrs       = var.ssh_cidrs
  udp_ports       = [for port in var.ike_ports : port if !contains([500, 4500], port)]
}

# Both addresses are resources of their own, so that peers and routes outlive an instance that is replaced.
resource "google_compute_address" "public" {
  project      = var.project
  region       = local.region
  name         = "${var.name}-public"
  address_type = "EXTERNAL"
  labels       = var.labels
}

resource "google_compute_address" "private" {
  project      = var.project
  region       = local.region
  name         = "${var.name}-private"
  address_type = "INTERNAL"
  subnetwork   = var.subnetwork
  address      = var.private_ip
  labels       = var.labels
}

resource "google_compute_firewall" "ike" {
  project       = var.project
  network       = var.network
  name          = "${var.name}-ike"
  description   = "IKE and ESP in UDP"
  direction     = "INGRESS"
  source_ranges = var.peer_cidrs
  target_tags   = [local.tag]

  allow {
    protocol = "udp"
    ports    = [for port in var.ike_ports : tostring(port)]
  }
}

resource "google_compute_firewall" "icmp" {
  count = length(var.icmp_cidrs) > 0 ? 1 : 0

  project       = var.project
  network       = var.network
  name          = "${var.name}-icmp"
  description   = "ICMP"
  direction     = "INGRESS"
  source_ranges = var.icmp_cidrs
  target_tags   = [local.tag]

  allow {
    protocol = "icmp"
  }
}

resource "google_compute_firewall" "ssh" {
  count = length(var.ssh_cidrs) > 0 ? 1 : 0

  project       = var.project
  network       = var.network
  name          = "${var.name}-ssh"
  description   = "SSH"
  direction     = "INGRESS"
  source_ranges = var.ssh_cidrs
  target_tags   = [local.tag]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

resource "google_compute_firewall" "cluster" {
  count = local.routed && length(var.cluster_cidrs) > 0 ? 1 : 0

  project       = var.project
  network       = var.network
  name          = "${var.name}-cluster"
  description   = "Nodes and Pods to the offices"
  direction     = "INGRESS"
  source_ranges = var.cluster_cidrs
  target_tags   = [local.tag]

  allow {
    protocol = "all"
  }
}

# The offices' own networks, for packets keep their source; the appliance's address for its probes, and where it hides
# the clients.
resource "google_compute_firewall" "office_to_cluster" {
  count = length(var.cluster_target_tags) > 0 ? 1 : 0

  project       = var.project
  network       = var.network
  name          = "${var.name}-office"
  description   = "Offices behind ${var.name}"
  direction     = "INGRESS"
  source_ranges = concat(local.routed ? var.office_cidrs : [], ["${google_compute_address.private.address}/32"])
  target_tags   = var.cluster_target_tags

  allow {
    protocol = "all"
  }
}

resource "google_compute_instance" "this" {
  project                   = var.project
  zone                      = var.zone
  name                      = var.name
  machine_type              = var.machine_type
  can_ip_forward            = true
  allow_stopping_for_update = true
  tags                      = [local.tag]
  labels                    = var.labels

  # Keys of the project do not log in here. The metadata server has no hop limit to set; it answers only requests with
  # its own header, and the tunnel's selectors hold no 169.254.169.254.
  metadata = {
    user-data              = module.user_data.user_data
    block-project-ssh-keys = "TRUE"
    enable-oslogin         = "FALSE"
    serial-port-enable     = "FALSE"
  }

  boot_disk {
    initialize_params {
      image = var.image_id
      type  = "pd-balanced"
      size  = var.disk_size
    }
  }

  network_interface {
    subnetwork = var.subnetwork
    network_ip = google_compute_address.private.address

    access_config {
      nat_ip = google_compute_address.public.address
    }
  }

  shielded_instance_config {
    enable_secure_boot          = var.secure_boot
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  lifecycle {
    # cloud-init writes the files once in an instance's life: what is changed takes a new one.
    replace_triggered_by = [terraform_data.user_data]

    precondition {
      condition     = length(module.user_data.user_data) <= 262144
      error_message = "Google Cloud takes at most 256 KiB in a metadata value."
    }

    precondition {
      condition     = var.mode == "translate" || contains(module.user_data.modes, var.mode)
      error_message = "The configuration does not say `services = \"...\"` with the mode of this module."
    }

    precondition {
      condition     = var.mode != "route" || (length(var.service_cidrs) > 0 && var.service_next_hop != null)
      error_message = "With route, service_cidrs and service_next_hop are needed."
    }
  }
}

resource "terraform_data" "user_data" {
  input = sha256(module.user_data.user_data)
}

resource "google_compute_route" "office" {
  for_each = local.routed ? toset(var.office_cidrs) : toset([])

  project     = var.project
  network     = var.network
  name        = "${var.name}-${replace(replace(each.value, ".", "-"), "/", "-")}"
  description = "Office behind ${var.name}"
  dest_range  = each.value
  next_hop_ip = google_compute_address.private.address
  priority    = 1000
  tags        = var.route_tags

  depends_on = [google_compute_instance.this]
}

# Only for the appliance: its tag limits the route to it.
resource "google_compute_route" "service" {
  for_each = var.mode == "route" ? toset(var.service_cidrs) : toset([])

  project           = var.project
  network           = var.network
  name              = "${var.name}-${replace(replace(each.value, ".", "-"), "/", "-")}"
  description       = "Services behind a node"
  dest_range        = each.value
  next_hop_instance = var.service_next_hop
  priority          = 1000
  tags              = [local.tag]
}
