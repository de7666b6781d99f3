// For tests: an aggregate that has nothing to do with runs, a shelf that holds three books.
import { EspalierError } from '#protocol';
import type { Aggregate, AggregateState } from './aggregate-repository.js';
import { decodeStored, type Envelope, type Fact, type UnknownEvent } from './event-codec.js';
import { eventTypesOf } from './event-types.js';

export interface Shelf extends AggregateState {
  books: string[];
}
export interface BookPlaced extends Fact {
  type: 'BookPlaced';
  data: { title: string };
}

/** Before version 2 the field `title` was called `name`. */
export const types = eventTypesOf({ BookPlaced: true }, { BookPlaced: [({ name }) => ({ title: name })] });

export const shelf: Aggregate<Shelf, { title: string }, BookPlaced> = {
  name: 'shelf',
  types,
  streamPrefix: 'shelf-',
  decode: (stored) => decodeStored(types, stored) as (BookPlaced & Envelope) | UnknownEvent,
  evolve: (state, event) => ({
    books: [...(state?.books ?? []), ...('title' in event.data ? [String(event.data['title'])] : [])],
    revision: (state?.revision ?? -1) + 1,
    chain: event.chain,
  }),
  decide: (state, { title }, at) => {
    if (state?.books.includes(title)) return [];
    if ((state?.books.length ?? 0) >= 3) throw new EspalierError('FIELD_OUT_OF_RANGE', 'the shelf is full');
    return [{ type: 'BookPlaced', at, data: { title } }];
  },
  notFound: (id) => new EspalierError('RUN_NOT_FOUND', `no shelf ${id}`),
  damaged: (id) => new EspalierError('RUN_DAMAGED', `shelf ${id}`),
};
