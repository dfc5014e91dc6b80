// board.js HEX PORT [SECONDS] is a simulated Uno at a machine of the demo, in real time, for who has no board. HEX is
// a sketch that tests/firmware/sketches.sh has compiled. Enter cuts its power for a second. With SECONDS it ends then.
//
// Copyright (c) 2026 the notepay authors
// SPDX-License-Identifier: MIT
const net = require('net');
const {Uno} = require('./uno.js');

const [hex, port, seconds] = process.argv.slice(2);
const RELAY = 7, DOOR = 4; // the relay of the examples, and the door of Washer, which is closed

const uno = new Uno(hex, {fired: true, reply: () => undefined}, RELAY);
const socket = net.connect(Number(port), '127.0.0.1');
let shown = 0;

uno.pin4 = false;
uno.ports.d.setPin(DOOR, false);

// The UART of the Uno is the connection.
function wire() {
	uno.usart.onByteTransmit = byte => socket.write(Buffer.from([byte]));
	uno.usart.onRxComplete = () => uno.cpu.addClockEvent(() => uno.send(), 1);
}
wire();
socket.on('data', data => {
	uno.sending.push(...data);
	uno.send();
});
socket.on('error', error => {
	console.error(`no demo at port ${port}: ${error.message}`);
	process.exit(1);
});
socket.on('close', () => process.exit(0));

// It runs as much as the time that has passed, but catches up at most half a second.
let last = Date.now();
setInterval(() => {
	const now = Date.now(), ms = Math.min(now - last, 500);
	last = now;
	if (ms > 0) uno.run(ms);
	for (; shown < uno.edges.length; shown++)
		console.log(`${new Date().toISOString().slice(11, 23)} relay ${uno.edges[shown].high ? 'on' : 'off'}`);
}, 5);

if (process.stdin.isTTY || !seconds) {
	process.stdin.on('data', () => {
		console.log('power cut');
		uno.cut(1000);
		wire();
	});
}
if (seconds) setTimeout(() => process.exit(0), seconds * 1000);
