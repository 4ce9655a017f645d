// The backend, as the pages see it. An answer that is not good is an ApiError with the backend's own words.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
  }
}

export class Api {
  #fetch;
  #token;

  constructor(fetch) {
    this.#fetch = fetch;
  }

  async logIn(email, password) {
    this.#token = (await this.#call('POST', '/api/sessions', { email, password })).token;
  }

  me() {
    return this.#call('GET', '/api/me');
  }

  products() {
    return this.#call('GET', '/api/products');
  }

  buy(order) {
    return this.#call('POST', '/api/purchases', order);
  }

  async #call(method, path, body) {
    const answer = await this.#fetch(path, {
      method,
      headers: {
        ...(this.#token && { authorization: `Bearer ${this.#token}` }),
        ...(body && { 'content-type': 'application/json' }),
      },
      body: body && JSON.stringify(body),
    });
    // a proxy in between may answer with a page
    const content = await answer.json().catch(() => undefined);
    if (!answer.ok) throw new ApiError(answer.status, content?.error ?? `the server answers ${answer.status}`);
    return content;
  }
}
