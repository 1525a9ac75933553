mod doubles;
mod drops;
mod flows;
