# The appliance's user-data: an ordinary cloud-config that writes the configuration and the secrets before the daemon
# starts. Contents are base64, so that no text of theirs can break out of the YAML.

locals {
  allow = concat(
    [for cidr in var.ssh_cidrs : "ssh ${cidr}"],
    [for port in var.udp_ports : "udp ${port}"],
  )

  files = merge(
    { for name, content in var.secrets : "/etc/skybridge/${name}" => content },
    { "/etc/skybridge/skybridge.toml" = var.config },
    length(local.allow) == 0 ? {} : { "/etc/skybridge/appliance/allow" = "${join("\n", local.allow)}\n" },
  )

  cloud_config = merge(
    {
      write_files = [
        for path, content in local.files : {
          path        = path
          owner       = path == "/etc/skybridge/appliance/allow" ? "root:root" : "root:skybridge"
          permissions = path == "/etc/skybridge/appliance/allow" ? "0644" : "0640"
          encoding    = "b64"
          content     = base64encode(content)
        }
      ]
    },
    length(var.ssh_public_keys) == 0 ? {} : { ssh_authorized_keys = var.ssh_public_keys },
  )
}
