//! One handshake after the other between fresh engines: IKE_SA_INIT, IKE_AUTH and the first Child SA.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::measure::{median, round, timed, us};
use crate::primitives::Primitives;
use crate::world::{self, Auth, Credentials, at, datagram, drain};

/// Median CPU time of each side.
pub struct Figures {
    pub auth: Auth,
    pub initiator: Duration,
    pub responder: Duration,
}

/// So many handshakes, each with an initiator and a responder of its own.
pub fn measure(auth: Auth, rounds: usize) -> Figures {
    let credentials = Credentials::new(auth);
    let (mut initiators, mut responders) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (initiator, responder) = handshake(&credentials);
        initiators.push(initiator);
        responders.push(responder);
    }
    Figures { auth, initiator: median(&mut initiators), responder: median(&mut responders) }
}

fn handshake(credentials: &Credentials) -> (Duration, Duration) {
    let now = at(Instant::now(), Duration::ZERO);
    let mut initiator = world::initiator(credentials, None, now);
    let mut responder = world::responder(credentials, now);
    responder.handle_timeout(now);
    drain(&mut responder);
    let (mut initiating, mut responding) = (Duration::ZERO, Duration::ZERO);
    let mut requests = timed(&mut initiating, || {
        initiator.handle_timeout(now);
        drain(&mut initiator)
    });
    while !requests.is_empty() {
        let responses = timed(&mut responding, || {
            requests.iter().for_each(|request| responder.handle_datagram(now, datagram(request, 0, true)));
            drain(&mut responder)
        });
        requests = timed(&mut initiating, || {
            responses
                .iter()
                .for_each(|response| initiator.handle_datagram(now, datagram(response, 0, false)));
            drain(&mut initiator)
        });
    }
    assert_eq!((initiator.sad().len(), responder.sad().len()), (1, 1), "the tunnel is not up");
    (initiating, responding)
}

fn rate(time: Duration) -> f64 {
    1.0 / time.as_secs_f64()
}

impl Figures {
    pub fn json(&self) -> Value {
        json!({
            "auth": self.auth.name(),
            "initiator_us": round(us(self.initiator), 1),
            "responder_us": round(us(self.responder), 1),
            "initiator_per_second_and_core": round(rate(self.initiator), 0),
            "responder_per_second_and_core": round(rate(self.responder), 0),
        })
    }
}

/// The table for people.
pub fn print(all: &[Figures], primitives: &Primitives) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["handshake", "initiator", "responder", "primitives", "initiator/s", "responder/s"]);
    for figures in all {
        table.add_row([
            figures.auth.name().to_owned(),
            format!("{:.0} µs", us(figures.initiator)),
            format!("{:.0} µs", us(figures.responder)),
            format!("{:.0} µs", us(primitives.floor(figures.auth))),
            format!("{:.0}", rate(figures.initiator)),
            format!("{:.0}", rate(figures.responder)),
        ]);
    }
    for column in 1..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!(
        "CPU of one handshake (x25519, IKE_SA_INIT + IKE_AUTH + Child SA), and handshakes a second and core\n{table}\n"
    );
}
