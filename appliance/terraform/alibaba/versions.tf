# The versions that the module was checked with (see README.md).

terraform {
  required_version = ">= 1.6.0"

  required_providers {
    alicloud = {
      source  = "aliyun/alicloud"
      version = ">= 1.295.0, < 2.0.0"
    }
  }
}
