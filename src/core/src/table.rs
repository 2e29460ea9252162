//! Enums with data for each variant, declared as one table, so that the list of variants, their
//! positions and their data cannot disagree.

/// Declares an enum with a row for each variant, a function that returns the value of the row, and
/// `ALL`, the list of variants in the order of the table.
///
/// A last variant that carries a value is in a block of its own, after `or`. It is not in the list,
/// which is then named `OTHERS`, and `position()` numbers its values after the other variants.
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

            /// A small number that is unique among the values of this type.
            fn position(self) -> usize {
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
