//! The one boundary that every effect crosses, and what a capability is made of
