//! [`named!`]: kinds that have a name, which is shown, and read back.

/// Implements `Display` and `FromStr` for an enum without fields: `named!(Kind, "what it is called in errors", Variant = "name", ...)`.
macro_rules! named {
    ($kind:ident, $what:literal, $($variant:ident = $name:literal),+ $(,)?) => {
        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self {
                    $(Self::$variant => $name,)+
                })
            }
        }

        impl std::str::FromStr for $kind {
            type Err = $crate::base::Error;

            fn from_str(name: &str) -> $crate::base::Result<Self> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => {
                        let names = [$($name),+].join(", ");
                        let what = format!("{} {name:?} is none of {names}", $what);
                        Err($crate::base::Error::new($crate::base::ErrorKind::InvalidArgument, what))
                    }
                }
            }
        }
    };
}
pub(crate) use named;
