//! TCP services: connections through an ordinary listener by Upgrade, by `portcullis connect` and through
//! direct ports, with every bound that others have.

mod command;
mod database;
mod direct;
mod ends;
mod found;
mod upgrade;
