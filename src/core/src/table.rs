//! Enums with something to say about each variant, written as one table: the list of the variants, their
//! positions and their texts cannot disagree.

/// Declares an enum of which each variant is a row, a function that returns the row's value, and `ALL`,
/// the list of the variants in the order of the table.
macro_rules! table {
    (
        $(#[$about:meta])*
        pub enum $table:ident {
            $($(#[$of_variant:meta])* $variant:ident => $value:expr,)+
        }
        $(#[$of_row:meta])*
        $visible:vis fn $row:ident() -> $type:ty;
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum $table {
            $($(#[$of_variant])* $variant,)+
        }

        impl $table {
            /// Every variant, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            $(#[$of_row])*
            $visible const fn $row(self) -> $type {
                match self {
                    $(Self::$variant => const { $value },)+
                }
            }
        }
    };
}

pub(crate) use table;
