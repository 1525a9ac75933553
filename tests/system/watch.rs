//! What others change is put back, and told of.

use skybridge::system::Event;

use crate::net::{Net, TUN, Test, desired, event, tun};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_removed_route_is_restored_at_once", |net| Box::pin(restored(net))),
    ("a_removed_block_is_restored_at_once", |net| Box::pin(block_restored(net))),
    ("a_route_put_over_ours_is_replaced", |net| Box::pin(overwritten(net))),
    ("a_tun_set_down_comes_up_with_its_routes", |net| Box::pin(set_down(net))),
    ("new_own_addresses_are_told_as_one_list", |net| Box::pin(addresses(net))),
    ("an_address_that_goes_takes_no_route_with_it", |net| Box::pin(source_gone(net))),
];

fn restored_route(event: &Event) -> Option<String> {
    match event {
        Event::RouteRestored { route } => Some(route.clone()),
        _ => None,
    }
}

async fn restored(net: Net) {
    let _tun = tun(TUN);
    let (system, mut events) = net.start().await;
    system.reconcile(desired(&["10.7.0.0/16", "fd00:7::/32"])).await.unwrap();
    let whole = net.ours().await;
    let index = net.index(TUN).await;
    for prefix in ["10.7.0.0/16", "fd00:7::/32"] {
        net.del_route(Net::route(prefix, 50, 157, Some(index), None)).await;
        assert_eq!(event(&mut events, restored_route).await, format!("{prefix} dev sky0 metric 50"));
        assert_eq!(net.ours().await, whole);
    }
}

async fn block_restored(net: Net) {
    let _tun = tun(TUN);
    let (system, mut events) = net.start().await;
    system.reconcile(desired(&["10.7.0.0/16"])).await.unwrap();
    let whole = net.ours().await;
    let mut block = Net::route("10.7.0.0/16", 60, 157, None, None);
    block.header.kind = rtnetlink::packet_route::route::RouteType::Unreachable;
    net.del_route(block).await;
    assert_eq!(event(&mut events, restored_route).await, "unreachable 10.7.0.0/16 metric 60");
    assert_eq!(net.ours().await, whole);
}

async fn overwritten(net: Net) {
    let _tun = tun(TUN);
    net.veth("wan", "198.51.100.2/24").await;
    let (system, mut events) = net.start().await;
    system.reconcile(desired(&["10.7.0.0/16"])).await.unwrap();
    let other = Net::route("10.7.0.0/16", 50, 4, None, Some("198.51.100.1"));
    net.handle.route().add(other).replace().execute().await.unwrap();
    // The rival with the same prefix and metric stays its owner's; the halves win over it.
    event(&mut events, |event| {
        matches!(event, Event::Finding(_) | Event::RouteRestored { .. }).then_some(())
    })
    .await;
    assert_eq!(system.underlay("10.7.3.4".parse().unwrap()).await.unwrap().interface, TUN);
}

async fn set_down(net: Net) {
    let _tun = tun(TUN);
    let (system, mut events) = net.start().await;
    system.reconcile(desired(&["10.7.0.0/16", "fd00:7::/32"])).await.unwrap();
    let whole = net.ours().await;
    net.down(TUN).await;
    event(&mut events, |event| matches!(event, Event::TunRestored { .. }).then_some(())).await;
    event(&mut events, restored_route).await;
    event(&mut events, restored_route).await;
    assert_eq!(net.ours().await, whole);
}

async fn addresses(net: Net) {
    let _tun = tun(TUN);
    net.veth("wan", "198.51.100.2/24").await;
    let (system, mut events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16"]);
    wanted.tun_addresses = vec!["10.7.255.1/32".parse().unwrap()];
    system.reconcile(wanted).await.unwrap();
    let listed = |event: &Event| match event {
        Event::AddressesChanged { addresses } => {
            Some(addresses.iter().map(|own| own.address.to_string()).collect::<Vec<_>>())
        }
        _ => None,
    };
    net.address("wan", "198.51.100.3/24").await;
    net.address("wan", "2001:db8::3/64").await;
    let mut told = event(&mut events, listed).await;
    if told.len() < 3 {
        told = event(&mut events, listed).await;
    }
    assert_eq!(told, ["198.51.100.2", "198.51.100.3", "2001:db8::3"]);
    let now: Vec<String> =
        system.local_addresses().await.unwrap().iter().map(|own| own.address.to_string()).collect();
    assert_eq!(now, told);
}

async fn source_gone(net: Net) {
    let _tun = tun(TUN);
    net.veth("lan", "192.168.10.1/24").await;
    let (system, mut events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16"]);
    wanted.routes[0].local = vec!["192.168.0.0/16".parse().unwrap()];
    system.reconcile(wanted).await.unwrap();
    assert!(net.ours().await.iter().any(|line| line.ends_with("src 192.168.10.1")));
    let index = net.index("lan").await;
    net.handle.link().del(index).execute().await.unwrap();
    event(&mut events, |event| matches!(event, Event::AddressesChanged { .. }).then_some(())).await;
    assert!(net.ours().await.contains("10.7.0.0/16 Unicast proto 157 metric 50 dev sky0"));
}
