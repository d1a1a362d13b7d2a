"""Train, save and load an agent with a neuron of one's own."""

from my_lab.spiking import Draining, Quiet

from snnrl.agents import TD3

agent = TD3(
    "SpikingPolicy",
    "Pendulum-v1",
    learning_starts=100,
    policy_kwargs=dict(neuron=dict(name=Draining, drain=0.1), losses=[Quiet], net_arch=[32]),
)
agent.learn(300)
agent.save("own")
again = TD3.load("own")
observation = agent.env.observation_space.sample()
assert (agent.predict(observation)[0] == again.predict(observation)[0]).all()
print(again.actor.network.layers[0])
