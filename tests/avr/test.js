// test.js DIR [washer] runs the hex files of DIR, as tests/firmware/sketches.sh makes them, in a simulated Uno.
//
// Copyright (c) 2026 the notepay authors
// SPDX-License-Identifier: MIT
const path = require('path');
const {Uno, Notecard} = require('./uno.js');

const dir = process.argv[2];
let failed = 0;

function check(ok, text) {
	console.log(`  ${ok ? 'ok' : 'FAIL'} ${text}`);
	if (!ok) failed++;
}

function boot(name, pin4) {
	const card = new Notecard(), uno = new Uno(path.join(dir, name + '.hex'), card, 7);
	uno.pin4 = pin4;
	uno.ports.d.setPin(4, pin4);
	return {card, uno};
}

// From reset until it rests, with the queue empty and ATTN armed.
function rest({card, uno}) {
	card.fired = true;
	uno.run(4000, () => card.lines.length > 3 && !card.fired);
	uno.run(300);
}

function washer() {
	const world = boot('Washer', false), {card, uno} = world;
	rest(world);
	check(uno.starts === 0, 'the relay is low from reset on');
	card.note({payment_status: 'completed', credit_id: 'cr_7k3m9q2xh4abcdef', expires: 1790000600, duration_s: 3});
	const from = uno.ms;
	uno.run(2000, () => uno.high);
	check(uno.high && uno.ms - from <= 600,
		`the relay is on ${Math.round(uno.ms - from)} ms after the note (at most 600)`);
	uno.run(2000, () => card.queue.length === 0);
	check(card.answers[0] === 'cr_7k3m9q2xh4abcdef started', `answered ${card.answers}`);
	uno.run(500);
	card.mute = true;
	const on = uno.edges[0].ms;
	card.fired = true; // so that it asks while the Notecard is mute
	uno.run(4000, () => !uno.high);
	const late = uno.ms - on - 3000;
	check(!uno.high && Math.abs(late) <= 250,
		`with a mute Notecard the relay is off ${Math.round(late)} ms after its time (at most 250)`);
	card.mute = false;
	uno.run(15000, () => card.answers.length > 1);
	check(card.answers[1] === 'cr_7k3m9q2xh4abcdef done', `then answered ${card.answers[1]}`);
	uno.pin4 = true; // the door is open
	uno.ports.d.setPin(4, true);
	card.note({payment_status: 'completed', credit_id: 'cr_b', expires: 1790000600, duration_s: 3});
	uno.run(8000, () => card.answers.length > 2);
	check(card.answers[2] === 'cr_b failed E-DOOR' && uno.starts === 1, `with its door open: ${card.answers[2]}`);
}

function vending() {
	const world = boot('Vending', true), {card, uno} = world;
	rest(world);
	card.note({payment_status: 'completed', credit_id: 'cr_a', expires: 1790000600, pulses: 4});
	uno.run(3000, () => card.queue.length === 0);
	const widths = [], gaps = [], lines = card.lines.length;
	for (let i = 0; i + 1 < uno.edges.length; i++)
		(uno.edges[i].high ? widths : gaps).push(uno.edges[i + 1].ms - uno.edges[i].ms);
	const exact = list => list.map(ms => ms.toFixed(2)).join(', ');
	check(widths.length === 4 && widths.every(ms => Math.abs(ms - 50) <= 1),
		`pulses of ${exact(widths)} ms (50 to within 1)`);
	check(gaps.length === 3 && gaps.every(ms => Math.abs(ms - 100) <= 1),
		`gaps of ${exact(gaps)} ms (100 to within 1)`);
	check(lines > 0 && card.answers.join() === 'cr_a started', `answered ${card.answers}`);
	uno.pin4 = false; // inhibit
	uno.ports.d.setPin(4, false);
	card.note({payment_status: 'completed', credit_id: 'cr_b', expires: 1790000600, pulses: 4});
	uno.run(3000, () => card.answers.length > 1);
	check(card.answers[1] === 'cr_b failed E-INHIBIT' && uno.starts === 4, `while inhibited: ${card.answers[1]}`);
}

function cuts(name, more, pin4, bad) {
	const world = boot(name, pin4), {card, uno} = world;
	rest(world);
	let started = 0, refused = 0;
	for (let i = 0; i < 10; i++) {
		const id = `cr_${name.toLowerCase()}${i}`;
		uno.edges = [];
		card.answers = [];
		card.note({payment_status: 'completed', credit_id: id, expires: 1790000600, ...more});
		uno.run(380 + 18 * i); // from before the record to after the start
		uno.cut(300 + 100 * i);
		uno.run(6000, () => card.queue.length === 0 && !uno.high && card.answers.length > 0 &&
			(!more.duration_s || /done|failed/.test(card.answers.join())));
		const said = card.answers.join(', '), kept = /started|done/.test(card.answers[0]);
		const why = bad(uno, kept);
		if (why || !said)
			check(false, `${name}, cut ${i}: ${why || 'not answered'}; ${said}; ${uno.starts} starts, ${uno.onMs} ms`);
		kept ? started++ : refused++;
	}
	check(started + refused === 10, `10 power cuts, ${name}: ${started} kept the money, ${refused} gave it back`);
}

if (process.argv[3] === 'washer') {
	washer();
	process.exit(failed ? 1 : 0);
}
washer();
vending();
cuts('Washer', {duration_s: 2}, false, (uno, kept) =>
	uno.onMs > 2005 ? 'on for too long' : kept && uno.onMs === 0 ? 'paid for nothing' : '');
cuts('Vending', {pulses: 1}, true, (uno, kept) =>
	uno.starts > 1 ? 'two starts' : kept && uno.starts === 0 ? 'paid for nothing' : '');
process.exit(failed ? 1 : 0);
