//! What was measured, and medians of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::loads::Figures;

/// One load put once on one product.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// The product's name.
    pub product: &'static str,
    /// Whether the wire between the gateways takes super-packets.
    pub offload: bool,
    /// The load's name.
    pub load: String,
    /// Which round, from 1.
    pub round: usize,
    /// What was measured.
    pub figures: Figures,
}

/// The speed of a fixed loop around one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Drift {
    /// Octets a second before the round.
    pub before: f64,
    /// Octets a second after it.
    pub after: f64,
}

/// A figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many.
    pub count: usize,
}

impl Spread {
    /// Of these values, if there are any.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self { median: (low + high) / 2.0, min, max, count: values.len() })
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Results {
    /// In the order of measuring.
    pub samples: Vec<Sample>,
    /// One a round.
    pub drifts: Vec<Drift>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
}

impl Results {
    /// In words, why this run is not to be relied on: the fixed loop ran at very different speeds, or the processors
    /// were busy while nothing but an echo request now and then was to be done.
    pub fn disturbed(&self) -> Option<String> {
        let rates: Vec<f64> = self.drifts.iter().flat_map(|drift| [drift.before, drift.after]).collect();
        let slowed = Spread::of(rates).map_or(0.0, |rates| 1.0 - rates.min / rates.max);
        let busy = self.spread("plain", true, "ping-idle", "system").map_or(0.0, |busy| busy.max);
        (slowed > 0.2 || busy > 0.4).then(|| {
            format!(
                "the fixed loop lost up to {:.0} % of its speed, and up to {busy:.2} processors were busy while \
                 plain routing had next to nothing to do",
                slowed * 100.0
            )
        })
    }

    /// One figure of one product under one load.
    pub fn spread(&self, product: &str, offload: bool, load: &str, figure: &str) -> Option<Spread> {
        let same = self
            .samples
            .iter()
            .filter(|sample| sample.product == product && sample.offload == offload && sample.load == load);
        Spread::of(same.filter_map(|sample| sample.figures.get(figure).copied()).collect())
    }

    /// Every figure, by product, wire, load and name.
    pub fn spreads(&self) -> BTreeMap<(&str, bool, &str, &str), Spread> {
        let mut values: BTreeMap<(&str, bool, &str, &str), Vec<f64>> = BTreeMap::new();
        for sample in &self.samples {
            for (figure, value) in &sample.figures {
                let key = (sample.product, sample.offload, sample.load.as_str(), figure.as_str());
                values.entry(key).or_default().push(*value);
            }
        }
        values.into_iter().filter_map(|(key, values)| Some((key, Spread::of(values)?))).collect()
    }
}
