//! TCP services: connections through an ordinary listener by Upgrade, with every bound that others have.

mod database;
mod upgrade;
