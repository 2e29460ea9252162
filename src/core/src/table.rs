//! Enums with something to say about each variant, written as one table: the list of the variants, their
//! positions and their texts cannot disagree.

/// Declares an enum of which each variant is a row, a function that returns the row's value, and `ALL`,
/// the list of the variants in the order of the table.
///
/// A last variant that carries a value goes in a block of its own, after `or`. It is not in the list, which
/// is named `OTHERS` then, and `position()` numbers its values after the other variants.
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
    (
        $(#[$about:meta])*
        pub enum $table:ident {
            $($(#[$of_variant:meta])* $variant:ident => $value:expr,)+
        } or {
            $(#[$of_last:meta])*
            $last:ident($carried:ident: $carried_type:ty) => $of_carried:expr,
        }
        $(#[$of_row:meta])*
        $visible:vis fn $row:ident() -> $type:ty;
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum $table {
            $($(#[$of_variant])* $variant,)+
            $(#[$of_last])*
            $last($carried_type),
        }

        impl $table {
            /// Every variant that carries no value, in the order of the table.
            const OTHERS: &'static [Self] = &[$(Self::$variant),+];

            /// A small number that no other value of this type has.
            fn position(self) -> usize {
                /// Numbers the variants.
                enum Row {
                    $($variant,)+
                    $last,
                }
                match self {
                    $(Self::$variant => Row::$variant as usize,)+
                    Self::$last(carried) => (Row::$last as usize).saturating_add(carried as usize),
                }
            }

            $(#[$of_row])*
            $visible fn $row(self) -> $type {
                match self {
                    $(Self::$variant => const { $value },)+
                    Self::$last($carried) => $of_carried,
                }
            }
        }
    };
}

pub(crate) use table;
