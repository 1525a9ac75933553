mod doubles;
mod drops;
mod flows;
mod supers;
mod thread;
