// The page: what is shown follows from the state, and every event makes a new state. Everything that can be wrong without a browser is in the
// other modules. Text from the server only ever becomes text.

import { Api } from './api.js';
import { add, affordable, order, remove, total } from './cart.js';
import { money } from './money.js';
import { visible } from './products.js';

const api = new Api((path, options) => fetch(path, options));
const element = (id) => document.getElementById(id);
let state = { me: undefined, products: [], search: '', cart: [], message: '' };

function show(change) {
  state = { ...state, ...change };
  element('account').textContent = state.me ? `${state.me.name}, ${money(state.me.balance)}` : 'not logged in';
  element('login').hidden = Boolean(state.me);
  element('products').replaceChildren(
    ...visible(state.products, state.search).map((product) =>
      line(`${product.name}, ${money(product.price)}`, `Add ${product.name}`, '+', () => show({ cart: add(state.cart, product), message: '' })),
    ),
  );
  element('cart').replaceChildren(
    ...state.cart.map(({ product, quantity }) =>
      line(`${quantity} × ${product.name}`, `Remove one ${product.name}`, '−', () => show({ cart: remove(state.cart, product.id) })),
    ),
  );
  element('total').textContent = money(total(state.cart));
  element('buy').disabled = !state.me || !affordable(state.cart, state.me.balance);
  element('message').textContent = state.message;
}

function line(text, label, sign, action) {
  const item = document.createElement('li');
  const button = document.createElement('button');
  button.textContent = sign;
  button.ariaLabel = label;
  button.addEventListener('click', action);
  item.append(text, button);
  return item;
}

// Runs what talks to the server, and shows what it says when it fails.
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    show({ message: error.message });
  }
}

element('search').addEventListener('input', (event) => show({ search: event.target.value }));
element('login').addEventListener('submit', (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  attempt(async () => {
    await api.logIn(form.get('email'), form.get('password'));
    show({ me: await api.me(), message: '' });
  });
});
element('buy').addEventListener('click', () =>
  attempt(async () => {
    const { total: paid } = await api.buy(order(state.cart));
    show({ cart: [], me: await api.me(), message: `Paid ${money(paid)}. Enjoy!` });
  }),
);

show({});
attempt(async () => show({ products: await api.products() }));
