// An answer that is not what was asked for. The message is for the caller; anything that must not be shown is not put here.

export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.name = 'Problem';
    this.status = status;
  }
}
