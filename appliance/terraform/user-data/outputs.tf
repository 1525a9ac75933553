# What the clouds' modules take from here.

output "user_data" {
  description = "The cloud-config, as text."
  value       = "#cloud-config\n${yamlencode(local.cloud_config)}"
  sensitive   = true
}

output "modes" {
  description = "Modes that the configuration names in `services`; none where it leaves the default, translate."
  value       = nonsensitive(distinct(flatten(regexall("(?m)^[^#\\n]*\\bservices\\s*=\\s*\"(translate-and-masquerade|translate|route)\"", var.config))))
}
