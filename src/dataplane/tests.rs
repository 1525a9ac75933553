mod doubles;
mod drops;
mod flows;
mod sightings;
mod supers;
mod thread;
