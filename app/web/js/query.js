// One question at a time: a newer one cancels an older one, and an old answer that still arrives is dropped.

export class Latest {
  #sequence = 0;
  #abort = null;

  /**
   * Runs `ask(signal)`. Resolves to its answer, or to null where a newer question took its place; other errors are thrown.
   */
  async run(ask) {
    this.cancel();
    const mine = this.#sequence;
    const abort = new AbortController();
    this.#abort = abort;
    try {
      const answer = await ask(abort.signal);
      return mine === this.#sequence ? answer : null;
    } catch (error) {
      if (mine !== this.#sequence || error.name === "AbortError") return null;
      throw error;
    }
  }

  cancel() {
    this.#sequence += 1;
    this.#abort?.abort();
    this.#abort = null;
  }
}

/** Calls `action` once things have been quiet for `delay` ms; the delay may differ from call to call. */
export class Debounce {
  #timer = 0;
  #action;

  constructor(action) {
    this.#action = action;
  }

  in(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#action, delay);
  }

  stop() {
    clearTimeout(this.#timer);
  }
}
