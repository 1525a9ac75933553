# The provider; its version is what the module asks for.

terraform {
  required_version = ">= 1.6.0"

  required_providers {
    alicloud = {
      source = "aliyun/alicloud"
    }
  }
}
