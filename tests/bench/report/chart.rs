//! A chart of the most telling figures: bars of medians with the spread as whiskers.

use svg::{
    Document, Node,
    node::element::{Group, Line, Rectangle, Style, Text},
};

use super::Report;
use crate::{products::Product, results::Spread};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 190.0;
const BAR: f64 = 20.0;
const ROW: f64 = 26.0;
const HEADING: f64 = 46.0;

/// A panel: its heading, the load and figure, the unit it is drawn in, digits behind the point, whether
/// plain routing belongs to it.
struct Panel {
    title: &'static str,
    load: &'static str,
    figure: &'static str,
    unit: f64,
    digits: usize,
    plain: bool,
}

const PANELS: [Panel; 5] = [
    Panel {
        title: "TCP, one stream, Gbit/s (more is better)",
        load: "tcp1",
        figure: "bits",
        unit: 1e9,
        digits: 2,
        plain: true,
    },
    Panel {
        title: "CPU-seconds of both daemons per GB of TCP (less is better)",
        load: "tcp1",
        figure: "cpu_gb",
        unit: 1.0,
        digits: 2,
        plain: false,
    },
    Panel {
        title: "UDP, 64 octets, thousands delivered of 150,000 a second (more is better)",
        load: "udp64-150k",
        figure: "packets",
        unit: 1e3,
        digits: 1,
        plain: true,
    },
    Panel {
        title: "CPU-seconds of both daemons per million datagrams (less is better)",
        load: "udp64-150k",
        figure: "cpu_mpkt",
        unit: 1.0,
        digits: 1,
        plain: false,
    },
    Panel {
        title: "Ping when idle, average, ms (less is better)",
        load: "ping-idle",
        figure: "average",
        unit: 1e-3,
        digits: 3,
        plain: true,
    },
];

/// The chart as SVG.
pub fn draw(report: &Report) -> String {
    let mut group = Group::new();
    let mut y = 10.0;
    for panel in &PANELS {
        let bars: Vec<(Product, Spread)> = report
            .measured()
            .filter(|product| panel.plain || *product != Product::Plain)
            .filter_map(|product| Some((product, report.get(product, panel.load, panel.figure)?)))
            .collect();
        if !bars.is_empty() {
            y = draw_panel(&mut group, panel, &bars, y);
        }
    }
    let style = Style::new(
        "text{font:13px system-ui,sans-serif;fill:#333}.h{font-weight:600;font-size:14px}\
         .own{fill:#1f6feb}.other{fill:#9aa4b0}.limit{fill:#d0d7de}.w{stroke:#333;stroke-width:1.2}",
    );
    let background = Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "#fff");
    let document = Document::new()
        .set("viewBox", (0, 0, WIDTH, y.ceil()))
        .set("width", WIDTH)
        .set("role", "img")
        .add(style)
        .add(background)
        .add(group);
    format!("{document}\n")
}

fn draw_panel(group: &mut Group, panel: &Panel, bars: &[(Product, Spread)], top: f64) -> f64 {
    group.append(Text::new(panel.title).set("class", "h").set("x", 10.0).set("y", top + 22.0));
    let most = bars.iter().map(|(_, spread)| spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LEFT - 90.0) / most;
    let mut y = top + HEADING - 10.0;
    for (product, spread) in bars {
        let class = match product {
            Product::Skybridge | Product::SkybridgePlain | Product::SkybridgeLowLatency => "own",
            Product::Plain | Product::Forwarder => "limit",
            _ => "other",
        };
        let middle = y + BAR / 2.0;
        let label = Text::new(product.title()).set("x", LEFT - 8.0).set("y", middle + 4.5);
        group.append(label.set("text-anchor", "end"));
        group.append(
            Rectangle::new()
                .set("class", class)
                .set("x", LEFT)
                .set("y", y)
                .set("height", BAR)
                .set("width", round(spread.median * scale)),
        );
        let (low, high) = (round(LEFT + spread.min * scale), round(LEFT + spread.max * scale));
        group.append(
            Line::new().set("class", "w").set("x1", low).set("x2", high).set("y1", middle).set("y2", middle),
        );
        for x in [low, high] {
            let whisker = Line::new().set("class", "w").set("x1", x).set("x2", x);
            group.append(whisker.set("y1", middle - 4.0).set("y2", middle + 4.0));
        }
        let value = format!("{:.*}", panel.digits, spread.median / panel.unit);
        group.append(Text::new(value).set("x", high + 6.0).set("y", middle + 4.5));
        y += ROW;
    }
    y + 8.0
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
