# What the office's configuration needs.

output "remote" {
  description = "`remote` of the peer at the office."
  value       = module.skybridge.public_ip
}
