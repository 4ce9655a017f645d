//! What a stage sees of the checkout, and what it leaves behind
