# What this module needs: no provider, only the language.

terraform {
  required_version = ">= 1.6.0"
}
