// The list of products as it is shown: what matches the search, by name.

export function visible(products, search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return products
    .filter(({ name }) => words.every((word) => name.toLowerCase().includes(word)))
    .sort((a, b) => a.name.localeCompare(b.name, 'en'));
}
