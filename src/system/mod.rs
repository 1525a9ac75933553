//! Linux: links, addresses, routes, sysctls, by netlink; reconcile and clean up.
