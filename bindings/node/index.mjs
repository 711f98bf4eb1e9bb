import kms from './index.cjs'

export const { Client, KmsError, generateKey } = kms
export default kms
