//! What the shop sells, and how that looks as JSON.

/// Something to buy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// From 1.
    pub id: u32,
    /// As the customer reads it.
    pub name: &'static str,
    /// In cents.
    pub price: u32,
    /// How many there are.
    pub stock: u32,
}

/// The whole catalogue, by id.
pub const PRODUCTS: [Product; 4] = [
    Product { id: 1, name: "Espresso cups, set of 4", price: 2400, stock: 12 },
    Product { id: 2, name: "Hand grinder", price: 8900, stock: 3 },
    Product { id: 3, name: "Filter papers \"No. 2\"", price: 350, stock: 140 },
    Product { id: 4, name: "Kettle", price: 6450, stock: 0 },
];

/// The product with this id, which is given as in a path: digits only.
pub fn find(id: &str) -> Option<&'static Product> {
    if !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let id: u32 = id.parse().ok()?;
    PRODUCTS.iter().find(|product| product.id == id)
}

impl Product {
    /// One JSON object.
    pub fn json(&self) -> String {
        let Product { id, name, price, stock } = self;
        format!(r#"{{"id":{id},"name":{},"price":{price},"stock":{stock}}}"#, quoted(name))
    }
}

/// The catalogue as a JSON array.
pub fn json() -> String {
    let products: Vec<String> = PRODUCTS.iter().map(Product::json).collect();
    format!("[{}]", products.join(","))
}

/// A JSON string (RFC 8259, section 7).
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_found_by_their_id() {
        assert_eq!(find("2").map(|product| product.name), Some("Hand grinder"));
        for id in ["0", "5", "", "-1", "+1", "1.0", "99999999999", "one"] {
            assert_eq!(find(id), None, "{id}");
        }
    }

    #[test]
    fn ids_are_unique() {
        for product in &PRODUCTS {
            assert_eq!(find(&product.id.to_string()), Some(product));
        }
    }

    #[test]
    fn json_is_escaped() {
        assert_eq!(PRODUCTS[2].json(), r#"{"id":3,"name":"Filter papers \"No. 2\"","price":350,"stock":140}"#);
        assert_eq!(quoted("a\\b\n\u{1}ü"), r#""a\\b\n\u0001ü""#);
        assert!(json().starts_with(r#"[{"id":1,"#) && json().ends_with("}]"));
    }
}
