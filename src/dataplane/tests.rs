mod doubles;
mod drops;
mod flows;
mod thread;
