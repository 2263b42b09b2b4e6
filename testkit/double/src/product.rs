//! What the double says it is: SQL Server, Developer Edition.

/// Name told at login.
pub const PRODUCT_NAME: &str = "Microsoft SQL Server";
/// The server's own name (`@@SERVERNAME`, and in every message).
pub const SERVER_NAME: &str = "MSSQL-DOUBLE";

/// Which SQL Server it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// SQL Server 2022
    #[default]
    V2022,
    /// SQL Server 2025: the same with the types `json` and `vector`.
    V2025,
}

impl Release {
    /// Major and minor version and build.
    pub fn version(self) -> (u8, u8, u16) {
        match self {
            Release::V2022 => (16, 0, 4135),
            Release::V2025 => (17, 0, 1000),
        }
    }

    /// The compatibility level of its new databases, and the highest that it knows.
    pub fn compatibility_level(self) -> u8 {
        match self {
            Release::V2022 => 160,
            Release::V2025 => 170,
        }
    }

    /// The year in its name.
    pub fn year(self) -> &'static str {
        match self {
            Release::V2022 => "2022",
            Release::V2025 => "2025",
        }
    }
}
