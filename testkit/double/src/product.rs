//! What the double says it is: SQL Server 2022, Developer Edition.

/// Name told at login.
pub const PRODUCT_NAME: &str = "Microsoft SQL Server";
/// Major and minor version and build.
pub const PRODUCT_VERSION: (u8, u8, u16) = (16, 0, 4135);
/// The server's own name (`@@SERVERNAME`, and in every message).
pub const SERVER_NAME: &str = "MSSQL-DOUBLE";
